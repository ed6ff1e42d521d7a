"""What the operators raise themselves; everything else is pymilvus's own."""


class MilvusVerificationError(RuntimeError):
    """Milvus accepted a call, and reading back shows something else."""
