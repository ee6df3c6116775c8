"""What each stage writes: its tables with their columns, a module per stage."""
