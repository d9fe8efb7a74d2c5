"""The measures of drift a second time, straight from their formulas, with numpy and scipy.

What InfluxDB should hold follows from the calls themselves, which are read from standard input as they were simulated.
Only the edges are InfluxDB's own, for they are what the measures are defined on: which there are, and in which
intervals they were counted. Where scipy has a measure, it is asked, too, and the exact figures say what the edges cost.
"""

import json
import sys

import numpy as np
from scipy import special, stats

HOUR = 3600
DAY = 24 * HOUR
# Values beyond this are in no mean and no standard deviation.
EXTREME = 1e100


class Version:
    """All calls of one version of an algorithm, in their order."""

    def __init__(self, calls):
        self.key = (calls["owner"], calls["name"], calls["version"])
        self.times = np.array(calls["times"], dtype=np.int64)
        assert np.all(np.diff(self.times) >= 0)
        # What a call does not report is not a number here.
        self.metrics = {metric: np.array(values, dtype=float) for metric, values in calls["metrics"].items()}
        self.groups = np.array(calls["groups"], dtype=object)

    def rows(self, window):
        return slice(*np.searchsorted(self.times, [second * 10**9 for second in window]))

    def calls(self, window):
        rows = self.rows(window)
        return rows.stop - rows.start

    def values(self, metric, window):
        if metric not in self.metrics:
            return np.empty(0)
        values = self.metrics[metric][self.rows(window)]
        return values[~np.isnan(values)]

    def approvals(self, approved, window):
        """How many calls there are of each group, and how many of them were approved."""
        if approved not in self.metrics or not self.groups.size:
            return {}
        groups, outcomes = self.groups[self.rows(window)], self.metrics[approved][self.rows(window)]
        # What is no share of an approval is none.
        known = np.array([group is not None for group in groups], dtype=bool) & (outcomes >= 0) & (outcomes <= 1)
        # As a tag holds it.
        texts = [str(group)[:200].rstrip("\\") for group in groups[known]]
        names, places = np.unique(texts, return_inverse=True)
        shares = dict(zip(names, zip(np.bincount(places), np.bincount(places, weights=outcomes[known]))))
        shares.pop("", None)
        return shares


class Edges:
    """The edges of one metric of one version: in which intervals each was counted."""

    def __init__(self):
        self.counted = {}

    def used(self, window):
        """Those that were counted in each interval of the window in which any was, and these intervals."""
        start, stop = window
        intervals = {time for times in self.counted.values() for time in times if start <= time < stop}
        used = [float(edge) for edge, times in self.counted.items() if intervals and intervals <= times]
        return np.array(sorted(used)), intervals


def population_stability_index(reference, current, edges):
    # An edge ends a bin where the share of the reference that is not above it reaches the next tenth.
    tenths = 10 * not_above(edges, reference) // len(reference)
    lower = np.concatenate([[0], tenths[:-1]])
    cuts = edges[(tenths > lower) & (tenths < 10)]
    p, q = (
        (np.bincount(np.searchsorted(cuts, values, side="left"), minlength=len(cuts) + 1) + 0.5) / (len(values) + 5)
        for values in (reference, current)
    )
    assert len(p) == len(q) <= 10
    index = np.sum((q - p) * np.log(q / p))
    # It is the sum of the relative entropies both ways.
    agree("psi", index, np.sum(special.rel_entr(p, q) + special.rel_entr(q, p)))
    return index


def kolmogorov_smirnov(reference, current, edges, thorough, losses):
    statistic = np.max(np.abs(not_above(edges, reference) / len(reference) - not_above(edges, current) / len(current)))
    if thorough:
        # The usual test, of values of which no more is known than between which edges they are.
        bins = [np.searchsorted(edges, values, side="left") for values in (reference, current)]
        agree("ks", statistic, stats.ks_2samp(*bins, method="asymp").statistic)
        exact = stats.ks_2samp(reference, current, method="asymp").statistic
        assert exact >= statistic - 1e-12, (exact, statistic)
        losses.append(exact - statistic)
    return statistic


def median(values, edges):
    counts, all = not_above(edges, values), len(values)
    half = np.flatnonzero(2 * counts >= all)
    if not half.size:
        return edges[-1]
    upper = half[0]
    exact = np.quantile(values, 0.5, method="inverted_cdf")
    assert exact <= edges[upper] and (upper == 0 or edges[upper - 1] < exact)
    # With few edges they are the values that occur, and between them there is nothing.
    if upper == 0 or len(edges) < 24:
        return edges[upper]
    lower = upper - 1
    part = (all / 2 - counts[lower]) / (counts[upper] - counts[lower])
    with np.errstate(over="ignore"):
        return edges[lower] + (edges[upper] - edges[lower]) * part


def bounded(values):
    return values[np.abs(values) <= EXTREME]


def not_above(edges, values):
    """How many values, which are sorted, are not above each edge."""
    return np.searchsorted(values, edges, side="right")


def agree(what, one, other):
    assert abs(one - other) <= 1e-12 * max(1.0, abs(one)), (what, one, other)


class Judge:
    def __init__(self, case):
        self.case = case
        self.interval, self.enough = case["interval"], case["enough"]
        self.versions = {version.key: version for version in map(Version, case["versions"])}
        self.edges = {}
        self.losses = []
        for point in case["edges"]:
            key = (*(point["tags"].get(tag, "") for tag in TAGS), point["tags"]["metric"])
            edges = self.edges.setdefault(key, Edges())
            edges.counted.setdefault(point["tags"]["le"], set()).add(point["time"])

    def baseline(self, version):
        """The version that this one is compared with, and the window of that one's calls."""
        owner, name, _ = version.key
        for pin in self.case["baseline"]:
            if (pin["owner"], pin["name"]) == (owner, name):
                return self.versions.get((owner, name, pin["version"])), 90 * DAY
        return version, self.case["reference"]

    def counts(self):
        """The points that count the calls: at the edges, and in all."""
        points = []
        for key, edges in self.edges.items():
            version = self.versions[key[:3]]
            sorted_values = {}
            for edge, times in edges.counted.items():
                for time in times:
                    if time not in sorted_values:
                        sorted_values[time] = np.sort(version.values(key[3], (time, time + self.interval)))
                    values = sorted_values[time]
                    count = not_above(float(edge), values)
                    tags = {"metric": key[3], "le": edge}
                    points.append(point("algorithmia_histogram", version, time, tags, count=count, total=len(values)))
        for version in self.versions.values():
            for time in self.case["intervals"]:
                window = (time, time + self.interval)
                if calls := version.calls(window):
                    points.append(point("algorithmia_summary", version, time, {}, calls=calls))
                for metric in version.metrics:
                    values = version.values(metric, window)
                    if values.size:
                        fields = {"values": values.size}
                        usual = bounded(values)
                        if usual.size:
                            fields |= {"mean": np.mean(usual), "stddev": np.std(usual)}
                        if usual.size < values.size:
                            fields["extreme"] = values.size - usual.size
                        points.append(point("algorithmia_summary", version, time, {"metric": metric}, **fields))
                for group, (calls, approvals) in version.approvals(self.case["approved"], window).items():
                    fields = {"calls": calls, "approvals": approvals}
                    tags = {"metric": self.case["approved"], "group": group}
                    points.append(point("algorithmia_groups", version, time, tags, **fields))
        return points

    def drift(self):
        pairs = [(version, stop) for stop in self.case["ticks"] for version in self.versions.values()]
        return [point for version, stop in pairs for point in self.measures(version, stop)]

    def measures(self, version, stop):
        now = (stop - self.interval, stop)
        reference, length = self.baseline(version)
        before = (stop - self.case["gap"] - length, stop - self.case["gap"])
        if reference is None:
            return
        for metric in reference.metrics:
            fields = self.measures_of(version, metric, now, reference, before, stop in self.case["thorough"])
            if metric == self.case["approved"]:
                fields |= self.differences(version, now, reference, before)
            if fields:
                yield point("algorithmia_drift", version, stop, {"metric": metric}, **fields)
        for group, (now_share, before_share) in self.shares(version, now, reference, before).items():
            tags = {"metric": self.case["approved"], "group": group}
            yield point("algorithmia_drift", version, stop, tags, approvals=now_share, approvals_reference=before_share)

    def measures_of(self, version, metric, now, reference, before, thorough):
        current, past = version.values(metric, now), reference.values(metric, before)
        calls, past_calls = version.calls(now), reference.calls(before)
        if min(calls, past_calls) < self.enough or not past.size:
            return {}
        fields = {"missing": 1 - current.size / calls, "missing_reference": 1 - past.size / past_calls}
        start, stop = (second * 10**9 for second in before)
        fields |= {"reference_version": reference.key[2], "reference_start": start, "reference_stop": stop}
        fields |= {"current_start": now[0] * 10**9, "calls": calls}
        usual, past_usual = bounded(current), bounded(past)
        extremes = {"extreme": current.size - usual.size, "extreme_reference": past.size - past_usual.size}
        if any(extremes.values()):
            fields |= extremes
        if min(current.size, past.size) < self.enough:
            return fields
        edges, binned, past_binned = self.binned(version, metric, now, reference, before)
        # Before an interval had enough calls, there are none.
        if not edges.size:
            return fields
        fields |= {"reference": past.size, "current": current.size}
        fields["psi"] = population_stability_index(past_binned, binned, edges)
        fields["ks"] = kolmogorov_smirnov(past_binned, binned, edges, thorough, self.losses)
        if min(usual.size, past_usual.size) < self.enough:
            return fields
        deviation = np.std(past_usual)
        medians = [median(values, edges) for values in (binned, past_binned)]
        # Where all values are one, there may be some in the last digits.
        if deviation > 1e-10 * abs(np.mean(past_usual)) and np.max(np.abs(medians)) <= EXTREME:
            fields["mean_shift"] = (np.mean(usual) - np.mean(past_usual)) / deviation
            fields["median_shift"] = (medians[0] - medians[1]) / deviation
        return fields

    def binned(self, version, metric, now, reference, before):
        """The edges that both have, and the values that were counted at them, sorted."""
        sides = []
        for which, window in ((version, now), (reference, before)):
            edges, intervals = self.edges.get((*which.key, metric), Edges()).used(window)
            counted = [which.values(metric, (time, time + self.interval)) for time in sorted(intervals)]
            sides.append((edges, np.sort(np.concatenate([*counted, []]))))
        (edges, current), (past_edges, past) = sides
        return np.intersect1d(edges, past_edges), current, past

    def shares(self, version, now, reference, before):
        current = version.approvals(self.case["approved"], now)
        past = reference.approvals(self.case["approved"], before)
        return {
            group: tuple(approvals / calls for calls, approvals in (current[group], past[group]))
            for group in current.keys() & past.keys()
            if min(current[group][0], past[group][0]) >= self.enough
        }

    def differences(self, version, now, reference, before):
        shares = [share for share, _ in self.shares(version, now, reference, before).values()]
        if len(shares) < 2 or max(shares) == 0:
            return {}
        return {"approvals_difference": max(shares) - min(shares), "approvals_ratio": min(shares) / max(shares)}


TAGS = ("algorithm_owner", "algorithm_name", "algorithm_version")


def point(measurement, version, time, tags, **fields):
    tags = {tag: text for tag, text in {**dict(zip(TAGS, version.key)), **tags}.items() if text != ""}
    # JSON does not know numpy's numbers.
    fields = {name: value.item() if isinstance(value, np.generic) else value for name, value in fields.items()}
    return {"measurement": measurement, "time": time, "tags": tags, "fields": fields}


def main():
    judge = Judge(json.load(sys.stdin))
    points = judge.counts() + judge.drift()
    json.dump({"points": points, "ks_losses": judge.losses}, sys.stdout)


main()
