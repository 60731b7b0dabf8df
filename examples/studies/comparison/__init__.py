"""The comparison of search methods: trainings, prices, methods, experiments, statistics, page."""
