"""Examination of a machine, and of a configuration or a model on it.

    for section in diagnose("reviews.yaml"):
        print(to_text(section.document), end="")

    section      parts of the result
    packages     versions of packages
    machine      processor, threads and memory
    cgroups      limits of a container
    gpu          NVIDIA's driver and CUDA's libraries
    folders      folders in which textclf writes, with their free space
    subject      the configuration or the model
    disk_need    bytes that a training writes
    tensors      what only TensorFlow and Keras can report: devices, layers
    diagnosis    the sections in their order

A problem is a sentence: location, problem, fix. TensorFlow is imported for the last sections only.
"""

from textclf.doctor.diagnosis import diagnose
from textclf.doctor.section import Section

__all__ = ["Section", "diagnose"]
