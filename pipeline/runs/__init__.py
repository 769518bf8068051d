"""Runs on disk, and their parts built from a configuration."""

from learned_saliency.pipeline.runs.build import (
    CLASSIFIER,
    FIRST_STAGE,
    build_data,
    build_module,
    build_network,
    build_trainer,
    create_data,
    known_names,
    make_data,
    stage_config,
    trained_stages,
    with_class_files,
)
from learned_saliency.pipeline.runs.bundles import (
    Bundle,
    BundleError,
    BundleImage,
    Facts,
    Fault,
    find_faults,
    write_bundle,
)
from learned_saliency.pipeline.runs.checkpoints import (
    RECORD,
    Checkpoint,
    beside,
    load_module,
    load_network,
    load_weights,
    read_checkpoint,
    untrained_network,
    without_pretraining,
)
from learned_saliency.pipeline.runs.class_names import class_number
from learned_saliency.pipeline.runs.coverage import Coverage, coverage_facts, find_coverage
from learned_saliency.pipeline.runs.dashboards import check_dashboards
from learned_saliency.pipeline.runs.explained import (
    Subject,
    build_explained,
    read_subject,
    subject_record,
    try_methods,
)
from learned_saliency.pipeline.runs.explaining import (
    Explaining,
    MapDifference,
    MapEffect,
    explaining_record,
    with_precision,
)
from learned_saliency.pipeline.runs.facts import (
    checkpoint_facts,
    learned_record,
    package_versions,
)
from learned_saliency.pipeline.runs.folder import (
    create_folder,
    read_record,
    write_record,
)
from learned_saliency.pipeline.runs.given import (
    build_given,
    given_network,
    given_part,
    given_stage,
    rebuild_given,
)
from learned_saliency.pipeline.runs.input import (
    OwnInput,
    foreign_input,
    foreign_names,
    library_input,
    own_input,
)
from learned_saliency.pipeline.runs.methods import (
    build_evaluation,
    build_method,
    build_methods,
    check_measurements,
    method_members,
    method_names,
)
from learned_saliency.pipeline.runs.named_parts import check_named_parts, foreign_parts
from learned_saliency.pipeline.runs.places import located_data
from learned_saliency.pipeline.runs.ranks import as_one
from learned_saliency.pipeline.runs.references import asks_the_machine, with_references
from learned_saliency.pipeline.runs.targets import has_function, target_record, target_word
from learned_saliency.pipeline.runs.third_party import (
    PlainLogits,
    build_classifier,
    check_library_network,
    library_class_names,
    third_party_network,
)
from learned_saliency.pipeline.runs.trainer import check_hardware, check_limits
from learned_saliency.pipeline.runs.weights import (
    check_finite,
    find_state_dict,
    fit_state_dict,
    read_weights,
)
from learned_saliency.pipeline.runs.writing import (
    DurableCheckpointIO,
    RunRecord,
    run_record,
    write_checkpoint,
)

__all__ = [
    "CLASSIFIER",
    "FIRST_STAGE",
    "RECORD",
    "Bundle",
    "BundleError",
    "BundleImage",
    "Checkpoint",
    "Coverage",
    "DurableCheckpointIO",
    "Explaining",
    "Facts",
    "Fault",
    "MapDifference",
    "MapEffect",
    "OwnInput",
    "PlainLogits",
    "RunRecord",
    "Subject",
    "as_one",
    "asks_the_machine",
    "beside",
    "build_classifier",
    "build_data",
    "build_evaluation",
    "build_explained",
    "build_given",
    "build_method",
    "build_methods",
    "build_module",
    "build_network",
    "build_trainer",
    "check_dashboards",
    "check_finite",
    "check_hardware",
    "check_library_network",
    "check_limits",
    "check_measurements",
    "check_named_parts",
    "checkpoint_facts",
    "class_number",
    "coverage_facts",
    "create_data",
    "create_folder",
    "explaining_record",
    "find_coverage",
    "find_faults",
    "find_state_dict",
    "fit_state_dict",
    "foreign_input",
    "foreign_names",
    "foreign_parts",
    "given_network",
    "given_part",
    "given_stage",
    "has_function",
    "known_names",
    "learned_record",
    "library_class_names",
    "library_input",
    "load_module",
    "load_network",
    "load_weights",
    "located_data",
    "make_data",
    "method_members",
    "method_names",
    "own_input",
    "package_versions",
    "read_checkpoint",
    "read_record",
    "read_subject",
    "read_weights",
    "rebuild_given",
    "run_record",
    "stage_config",
    "subject_record",
    "target_record",
    "target_word",
    "third_party_network",
    "trained_stages",
    "try_methods",
    "untrained_network",
    "with_class_files",
    "with_precision",
    "with_references",
    "without_pretraining",
    "write_bundle",
    "write_checkpoint",
    "write_record",
]
