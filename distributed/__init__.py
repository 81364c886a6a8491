"""Ray around the rest: the trainer's loop, its actors, its store, its command line."""

if __name__ == "distributed":
    # Ray puts the driver's working directory on its workers' path, where this folder would answer to Dask's name.
    raise ImportError(
        "this folder is innerloop.distributed; import it by that name, or leave innerloop's own directory"
    )
