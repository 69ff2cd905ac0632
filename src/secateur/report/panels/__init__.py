"""The page's figures as Vega-Lite, made with Altair: values on hover, colours from the page's style."""
