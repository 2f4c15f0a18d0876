"""What the command line does besides the stages of a run: demo, predict, export, tune, sizes, doctor, HMS files."""
