# normpipe with the face networks on a GPU. The host needs NVIDIA's driver and container toolkit; torch's wheel brings the rest of CUDA.
#   docker build --file docker/cuda.Dockerfile --tag normpipe:cuda .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" --volume "$PWD:/data" normpipe:cuda run photos/ out/ --device cuda
FROM python:3.11.14-slim-bookworm

# OpenCV's wheel links these two.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
WORKDIR /opt/normpipe

# Dependencies first, in the exact versions, with an empty package: this layer is kept when only the source changes.
COPY constraints.txt pyproject.toml LICENSE NOTICE README.md ./
COPY manifests manifests
COPY pipelines pipelines
COPY normpipe/__init__.py normpipe/__init__.py
RUN pip install --constraint constraints.txt ".[torch]"

COPY normpipe normpipe
RUN pip install --no-deps --force-reinstall .

RUN useradd --create-home --uid 1000 normpipe
USER normpipe
WORKDIR /data
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENTRYPOINT ["normpipe"]
CMD ["--help"]
