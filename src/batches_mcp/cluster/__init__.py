"""Jobs that several machines work on: shards of an input, planned, sent and collected part by part."""
