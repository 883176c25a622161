"""The brain in whole-head MR images, and bright lesions inside it: data, synthesis, training, evaluation."""
