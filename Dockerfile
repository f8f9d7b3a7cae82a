# syntax=docker/dockerfile:1
#   docker build --target cpu  -t jax-zoo:cpu  .
#   docker build --target cuda -t jax-zoo:cuda .      needs an NVIDIA driver 580 or newer to run
#   docker run --rm -v zoo-cache:/home/zoo/.cache jax-zoo:cpu list
#   docker run --rm --gpus all -v zoo-cache:/home/zoo/.cache jax-zoo:cuda env

FROM python:3.11-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH
RUN python -m venv "$VIRTUAL_ENV" \
    && useradd --create-home --uid 1000 zoo \
    && install -d -o zoo -g zoo /home/zoo/.cache /work
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY zoo zoo
COPY bridges bridges
COPY sharding sharding

FROM base AS cpu
RUN pip install -c constraints.txt .
USER zoo
WORKDIR /work
ENTRYPOINT ["zoo"]
CMD ["--help"]

# The CUDA libraries come as wheels with the gpu extra; only the driver is taken from the host.
FROM base AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN pip install -c constraints.txt ".[gpu]"
USER zoo
WORKDIR /work
ENTRYPOINT ["zoo"]
CMD ["--help"]
