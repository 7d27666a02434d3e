"""What codes hold, by label, word and sentence (revision 4.2.1), and whether another seed finds the same."""
