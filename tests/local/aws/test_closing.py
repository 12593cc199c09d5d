"""A local AWS that is told to stop leaves nothing running."""

from __future__ import annotations

import psutil
import pytest

from .harness import REGION, ROLE, free_port, start, stop, wait_for
from .images import Pusher
from .test_endpoints import SERVER, artifact
from .test_jobs import PROGRAM
from .test_lambda import HANDLER, archive, invoke


def test_jobs_endpoints_and_functions_end_with_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    running = start(tmp_path_factory.mktemp("closing") / "aws", f"http://127.0.0.1:{free_port()}")
    sagemaker, bucket = running.client("sagemaker"), "closing"
    try:
        s3 = running.client("s3")
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket=bucket, Key="model.tar.gz", Body=artifact(version="1"))
        for name in ("closing/program", "closing/server"):
            running.client("ecr").create_repository(repositoryName=name)
        pusher = Pusher.login(running)
        program, server = (
            pusher.program("closing/program", "1", PROGRAM),
            pusher.program("closing/server", "1", SERVER),
        )
        sagemaker.create_training_job(
            TrainingJobName="hangs",
            RoleArn=ROLE,
            AlgorithmSpecification={"TrainingImage": program, "TrainingInputMode": "File"},
            HyperParameters={"do": "hang"},
            OutputDataConfig={"S3OutputPath": f"s3://{bucket}/out/"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
            StoppingCondition={"MaxRuntimeInSeconds": 600},
        )
        container = {"Image": server, "ModelDataUrl": f"s3://{bucket}/model.tar.gz"}
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)
        variant = {
            "VariantName": "v",
            "ModelName": "m",
            "InstanceType": "ml.t2.medium",
            "InitialInstanceCount": 1,
        }
        sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="e", WaiterConfig={"Delay": 1})
        trust = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}]}'
        role = running.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        functions = running.client("lambda")
        functions.create_function(
            FunctionName="f",
            Runtime="python3.12",
            Role=role,
            Handler="handler.handler",
            Code={"ZipFile": archive(handler=HANDLER, helper="NAME = ''")},
        )
        invoke(functions, "f", {})
        # trainer and its child, server, warm function
        children = wait_for(
            lambda: (
                len(psutil.Process(running.process.pid).children(recursive=True)) >= 4
                and psutil.Process(running.process.pid).children(recursive=True)
            )
        )
    finally:
        stop(running)
    assert running.process.returncode == 0
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert (len(gone) >= 4, alive) == (True, [])
