"""What a program needs of the process that it runs in."""

# "train", or where it is installed without a checkout "gpwjax.train".
PROGRAM = __name__.rpartition(".")[0]
