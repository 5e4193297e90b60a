using System.Runtime.CompilerServices;

namespace AttnCompose.Cuda.Tests;

internal static class TestProcess
{
    /// <summary>
    /// The cache of the process, which generated pipelines use, must not write into the home of whoever runs the tests.
    /// </summary>
    [ModuleInitializer]
    internal static void TurnOffTheCache() => Environment.SetEnvironmentVariable("ATTNCOMPOSE_CACHE", "off");
}
