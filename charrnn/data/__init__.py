"""From files to the ids that a model is trained on.

Read the modules in the order in which a text passes through them:

files      finds the files and yields their bytes, unpacked
decoding   decodes bytes to characters
records    takes documents from .csv, .tsv or JSON Lines; documents splits any other text into them
normalize  brings characters into a Unicode normal form, or into lower case
text       encodes characters as ids; cache keeps those of large texts on disk
reading    does all of this; corpus splits the text into training, validation and test
vocab      maps characters to the ids of a model
stream     cuts the ids into windows, one for each training step

Beside them: lines and items read lines and records for scoring, escapes writes a text in one line, summary describes a
corpus.
"""
