"""Beside stage 2: the nodes of graphs, and how alike their time courses are."""
