"""What models of real texts write, and how much of it is as it should be: docs/samples.md, by the real commands."""
