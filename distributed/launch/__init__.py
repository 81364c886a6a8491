"""Where a run runs and who may be there: Ray clusters, their versions, tokens and ports, jobs."""
