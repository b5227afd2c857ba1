"""Looking at results: a report in one file, an explorer in the browser, a viewer for notebooks."""
