"""A researcher in a notebook: held-out predictions of two models, a figure, and a student.

The arrays: `cnn` and `vit` (N, C) are held-out probabilities, `y` (N,) the classes, `patients` and `folds` (N,) the
groups and folds of cross-validation, `images` (N, H, W, channels) the inputs.
"""

from arrays import cnn, folds, images, new_images, new_votes, patients, vit, y

import foldstill as fs

table = fs.oof_table({"cnn": cnn, "vit": vit}, y, groups=patients, folds=folds)
stacked = fs.stack(table, ["average", "auto"])
figure = stacked.compare().plot("arms").figure
student = fs.distill(stacked.held_out("auto"), images, table.labels.votes_NC, "nano")
print(student.kl(new_images, new_votes))
