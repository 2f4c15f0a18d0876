# An engineer with a folder of images, images/<class>/*.png, and a folder of new ones: from files to ONNX and predictions.
# The file that `init` writes trains two networks, stacks them and distils them into one small student.
foldstill init mine.toml --kind folder
foldstill run mine.toml --out runs/mine
foldstill export runs/mine
foldstill predict --run runs/mine --data new-images --onnx runs/mine/student/student.onnx --out predictions.csv
