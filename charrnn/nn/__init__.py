"""The mathematics: recurrent nets, their gradients and the optimizers, in NumPy and a core in C.

Read `cells.lstm` first: equations, forward pass, backward pass. `cells.base` is the contract that it implements. Then
`model` (stacked cells between embedding and readout), `dropout` (its masks), `functional` (the loss), and `bptt` (the
loss and gradient of one window of text). `initializers`, `optimizers` and `schedules` have one function for each value
of the option of that name; `gradcheck` tests gradients; `compiled` calls the core, whose sources are in `core/`.
"""
