"""An S3 server of one's own, which refuses whoever does not show its credentials."""

import json
import os
import re
import subprocess
import sys
import time

import boto3
from pyarrow.fs import S3FileSystem

BUCKET, REGION, USER = "experiments", "us-east-1", "tune"
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
OPENING = 3  # calls that set up the one user, before anybody can show credentials; every later one is checked


class S3:
    """Moto's server at an address, with one user and one bucket."""

    def __init__(self, address, log):
        with log.open("wb") as file:
            command = [sys.executable, "-m", "moto.server", "--host", address, "--port", "0"]
            variables = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(OPENING)}
            self.process = subprocess.Popen(command, env=variables, stdout=file, stderr=file)
        self.log = log

    def open(self):
        """Wait for the server, and set up what every experiment finds there."""
        self.endpoint = self._endpoint()
        key = self._key()
        options = {"endpoint_override": self.endpoint, "scheme": "http", "region": REGION}
        options |= {"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}
        S3FileSystem(**options, allow_bucket_creation=True).create_dir(BUCKET)
        self.storage = {"bucket": BUCKET, "options": options}
        return self

    def _endpoint(self):
        while self.process.poll() is None:
            if found := re.search(r"Running on http://(\S+:\d+)", self.log.read_text()):
                return found[1]
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def _key(self):
        anybody = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anything"}
        iam = boto3.client("iam", endpoint_url=f"http://{self.endpoint}", region_name=REGION, **anybody)
        iam.create_user(UserName=USER)
        iam.put_user_policy(UserName=USER, PolicyName="storage", PolicyDocument=json.dumps(POLICY))
        return iam.create_access_key(UserName=USER)["AccessKey"]

    def close(self):
        self.process.kill()
        self.process.wait()
