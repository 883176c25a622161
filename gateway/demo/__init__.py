"""The demonstration: a synthetic study, a stand-in PACS, a stand-in viewer, and the loop through a real gateway."""
