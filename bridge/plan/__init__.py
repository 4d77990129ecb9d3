"""Two states of a source's mapping files over one stretch of its history: what an edit changes in what is published."""
