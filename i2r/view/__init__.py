"""A local page to look at an experiment: plate maps, hits, wells, fields, nuclei.

``server`` answers a browser on this machine; everything else gives it values and pictures, which
are read from tables and shards as they are asked for. Nothing here writes.
"""
