"""How fast charrnn is: against PyTorch, and against the matrix products that no implementation can leave out."""
