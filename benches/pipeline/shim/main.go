// What somebody would write for Telegraf's processors.execd in Go, with the shim that Telegraf offers for it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/metric"
	"github.com/influxdata/telegraf/plugins/common/shim"
)

type insights struct{}

func (*insights) SampleConfig() string { return "" }

func (*insights) Apply(in ...telegraf.Metric) []telegraf.Metric {
	out := make([]telegraf.Metric, 0, len(in))
	for _, m := range in {
		if m.Name() != "kafka_consumer" {
			out = append(out, m)
			continue
		}
		point, err := convert(m)
		if err != nil {
			fmt.Fprintf(os.Stderr, "E! %v\n", err)
			continue
		}
		out = append(out, point)
	}
	return out
}

func convert(m telegraf.Metric) (telegraf.Metric, error) {
	value, _ := m.GetField("value")
	message, _ := value.(string)
	var payload map[string]any
	if err := json.Unmarshal([]byte(message), &payload); err != nil {
		return nil, err
	}
	if payload["algorithm_name"] == nil {
		return nil, fmt.Errorf("no algorithm_name in %s", message)
	}
	at := m.Time()
	tags := m.Tags()
	fields := make(map[string]any, len(payload))
	for key, value := range payload {
		switch key {
		case "algorithm_name", "algorithm_owner", "algorithm_version":
			tags[key] = fmt.Sprint(value)
		case "time":
			text, _ := value.(string)
			parsed, err := time.Parse("2006-01-02T15:04:05", text)
			if err != nil {
				return nil, err
			}
			at = parsed
		default:
			switch value := value.(type) {
			case bool:
				fields[key] = 0.0
				if value {
					fields[key] = 1.0
				}
			case float64, string:
				fields[key] = value
			}
		}
	}
	return metric.New("algorithmia", tags, fields, at), nil
}

func main() {
	s := shim.New()
	if err := s.AddProcessor(&insights{}); err != nil {
		fmt.Fprintln(os.Stderr, "E!", err)
		os.Exit(1)
	}
	if err := s.Run(shim.PollIntervalDisabled); err != nil {
		fmt.Fprintln(os.Stderr, "E!", err)
		os.Exit(1)
	}
}
