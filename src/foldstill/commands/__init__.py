"""What else the command line does beside the stages of a run: demo, predict, export, tune, sizes, HMS files."""
