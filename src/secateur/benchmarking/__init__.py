"""The runtime beside other engines: latency, memory and bytes, measured in one run and checked first."""
