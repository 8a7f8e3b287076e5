"""The stages by name. Each entry is a dotted name, imported when a recipe uses it and never before.

A stage's module imports its configuration without heavy packages; torch, ray and MuPDF are imported inside the
function.
"""

STAGES: dict[str, str] = {
    "vision_backbone": "toy.towers.stage:train_vision_backbone",
    "bridge": "toy.towers.stage:fit_tower_bridge",
    "language_backbone": "toy.towers.stage:train_language_backbone",
    "reading_start": "toy.towers.stage:make_reading_start",
    "sample_corpus": "toy.corpus.stage:build_sample_corpus",
    "documents": "cookhouse.stages.documents:build_document_shards",
    "pretrain": "cookhouse.stages.training:pretrain",
    "sft": "cookhouse.stages.training:fine_tune",
    "evaluate": "cookhouse.stages.evaluate:evaluate_models",
    "rl": "cookhouse.stages.rl:reinforce",
    "videos": "cookhouse.stages.videos:build_video_shards",
    "captions": "cookhouse.stages.captions:build_caption_shards",
    "tokenizer": "cookhouse.stages.tokenizer:train_tokenizer",
    "text": "cookhouse.stages.text:build_text_shards",
    "conversations": "cookhouse.stages.conversations:build_conversation_shards",
    "interleaved": "cookhouse.stages.conversations:build_interleaved_shards",
    "adopt": "cookhouse.stages.adopt:adopt_shards",
    "synthetic_ocr": "cookhouse.stages.synthetic_ocr:build_synthetic_ocr",
    "questions": "cookhouse.stages.questions:build_question_shards",
}
