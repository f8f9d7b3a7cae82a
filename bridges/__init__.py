"""Bridges between the zoo's arrays and the files, hubs and frameworks of others.

`bridges.safetensors` reads and writes tensor files, `bridges.folder` replaces a saved folder
atomically, `bridges.hub` finds the files of a repository.
"""
