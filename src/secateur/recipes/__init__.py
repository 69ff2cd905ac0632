"""The paper's three steps as one resumable run."""
