"""Charts: the data of each chart (`series`), and the kinds of charts as Vega-Lite specifications (`specifications`)."""
