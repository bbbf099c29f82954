"""Share the batch rows of a window between processes, so that training and evaluation use every core.

Read `plan` first (how many processes there are, and which rows each gets), then `workers` (the processes) and `shared`
(the memory that they share). `charrnn.nn.bptt` does the computation for the rows.
"""
