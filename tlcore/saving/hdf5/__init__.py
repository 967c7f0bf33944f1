"""A reader of HDF5 files that trusts nothing in them; `tlcore.saving._hdf5` speaks for it.

What libhdf5 writes for tensors, texts and groups is read: all versions of superblocks and object
headers, old groups and new, dense links and attributes, committed types, contiguous, compact and
chunked data under deflate, shuffle and fletcher32. Links to elsewhere, virtual data sets and
external storage are recognised and never followed. Everything else is refused with its name.

`source`: the bytes, and what reading them may cost. `structures`: heaps and B-trees.
`types`: of what, and how many. `objects`: groups and attributes. `storage`: the values.
"""
