"""The human study (section 4.2.2): drawn from finished runs, served to annotators, scored."""
