# A competitor with prediction files: one CSV per model with held-out predictions, one with test predictions, the labels,
# and the competition's sample submission.
foldstill verdict preds/oof_*.csv --labels train.csv --group patient
foldstill apply verdict/auto preds/test_*.csv --like sample_submission.csv --out submission.csv
