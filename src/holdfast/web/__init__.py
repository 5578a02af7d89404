"""The inbox as a web page: what people are asked, and a form to answer each. Needs `holdfast[web]`."""
