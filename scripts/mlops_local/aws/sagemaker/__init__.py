"""SageMaker's jobs, models and endpoints, really run; what else SageMaker has is moto's."""
