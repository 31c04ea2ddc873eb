"""Is it the curriculum or the model? Forecast, attribution, monitor, comparison, report."""
