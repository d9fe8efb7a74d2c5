"""An algorithm as the platform runs it. Each request is the Python code of the metrics that it reports."""

import Algorithmia
import numpy  # for the requests
from adk import ADK

client = Algorithmia.client()


def apply(input):
    metrics = eval(input)
    try:
        client.report_insights(metrics)
    except TypeError as error:
        return type(error).__name__
    return "reported"


ADK(apply).init()
