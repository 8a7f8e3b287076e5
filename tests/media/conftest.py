"""The videos of the family's tests."""

from tests.videos.conftest import golden_cases, real_videos, write_video

__all__ = ["golden_cases", "real_videos", "write_video"]
