#pragma once
#include <attncompose/stages/AttnCompose.Cuda.Tests/no_such_header.cuh>
