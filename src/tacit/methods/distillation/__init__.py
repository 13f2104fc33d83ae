"""Methods that predict a target network without negatives."""
