# The image of bids-recon. See docs/containers.md.
#
#   docker build -t bids-recon .
#   docker build -t bids-recon:cpu \
#     --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu .
#   docker build -t bids-recon:cuda126 \
#     --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cu126 .

# Any image with python3 (3.11) and its venv module.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# What bids-recon needs, from lock files: made again only when these change.
FROM ${BASE_IMAGE} AS dependencies
ARG TORCH_INDEX_URL=""
COPY containers/install.sh containers/lock.txt containers/lock-torch.txt /build/
RUN /build/install.sh dependencies /opt/bids-recon

# bids-recon itself, apart, so that a new version leaves the large layer as it is.
FROM ${BASE_IMAGE} AS package
COPY containers/install.sh containers/lock-build.txt /build/
COPY pyproject.toml setup.cfg README.md LICENSE /build/source/
COPY bids_recon /build/source/bids_recon
RUN /build/install.sh package /build/source /opt/bids-recon /opt/package

# Weights and atlases, none by default:
#   --build-arg RECIPES="tiny-latent" --build-arg ATLASES="MNI152NLin2009cAsym:Schaefer2018"
FROM dependencies AS data
ARG RECIPES=""
ARG ATLASES=""
COPY --from=package /opt/package /opt/bids-recon
COPY containers/fetch.py /build/
RUN /opt/bids-recon/bin/python /build/fetch.py --to /opt/data \
        --recipes "${RECIPES}" --atlases "${ATLASES}"

FROM ${BASE_IMAGE}
COPY --from=dependencies /opt/bids-recon /opt/bids-recon
COPY --from=data /opt/data /opt/data
COPY --from=package /opt/package /opt/bids-recon

ARG VERSION=""
ARG REVISION=""
ARG TAG="bids-recon"
LABEL org.opencontainers.image.title="bids-recon" \
      org.opencontainers.image.description="BIDS-App: reconstruct the pictures a person saw from fMRI" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Caches of libraries lie below HOME. Where it cannot be written to, the program gives
# them a folder that lasts as long as the run.
ENV PATH="/opt/bids-recon/bin:${PATH}" \
    HOME="/home/bids-recon" \
    USER="bids-recon" \
    LC_ALL="C.UTF-8" \
    PYTHONNOUSERSITE="1" \
    PYTHONDONTWRITEBYTECODE="1" \
    TEMPLATEFLOW_HOME="/opt/data/templateflow" \
    TEMPLATEFLOW_AUTOUPDATE="off" \
    BIDS_RECON_WEIGHTS="/opt/data/weights" \
    BIDS_RECON_CONTAINER="${TAG}"

# Every module is imported once, so that an image with a hole is none.
RUN mkdir -m 777 "${HOME}" \
    && bids-recon --version > /version \
    && python -c "import pkgutil, importlib, bids_recon as b; [importlib.import_module(m.name) for m in pkgutil.walk_packages(b.__path__, 'bids_recon.') if m.name != 'bids_recon.__main__']" \
    && rm -rf "${HOME:?}"/.[!.]* /tmp/*

ENTRYPOINT ["bids-recon"]
