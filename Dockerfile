# docker build -t foldstill .                                     for CPUs
# docker build -t foldstill --build-arg EXTRAS=onnx,tune .        with extras
# docker run --gpus all -v "$PWD":/data foldstill run mine.toml   on GPUs: torch's Linux wheel brings CUDA, the host its driver
FROM python:3.12-slim
ARG EXTRAS=onnx
# LightGBM needs the OpenMP library of the system.
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
WORKDIR /foldstill
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"
WORKDIR /data
ENTRYPOINT ["foldstill"]
