"""How each operation of the nets is computed, and on which platform.

A file has an operation: its plain definition first, then its forms, which compute the
same from the same parameters. `platforms.by_platform` chooses among them when a program
is compiled, so that an exported net has all of them.

Inside the nets an array of images is (C, N, H, W). So on a CPU a channel is a long row,
along which XLA vectorises all that is elementwise, a grouped pointwise convolution is a
batch of matrix products without a transpose, and a sum over a channel reads memory in
order; on a TPU and a GPU the compiler chooses its own order in memory.
"""
