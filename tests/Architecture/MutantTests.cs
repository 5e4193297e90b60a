using System.ComponentModel;
using System.Diagnostics;
using AttnCompose.Testing;

namespace AttnCompose.Architecture;

/// <summary>The mutants of the device code, which run on a GPU, follow the device code.</summary>
public sealed class MutantTests
{
    [PythonFact]
    public void Each_mutant_has_its_text_in_the_device_code()
    {
        (int code, string printed) = Python(Repository.PathOf("eng/verify-mutants.py"), "--check");
        Assert.True(code == 0, printed);
    }

    private static (int Code, string Printed) Python(params string[] arguments)
    {
        var start = new ProcessStartInfo("python3", arguments) { RedirectStandardOutput = true };
        using Process process = Process.Start(start)!;
        string printed = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, printed);
    }

    /// <summary>A fact for machines with Python 3.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    private sealed class PythonFactAttribute : FactAttribute
    {
        public PythonFactAttribute()
        {
            try
            {
                Python("--version");
            }
            catch (Win32Exception)
            {
                Skip = "python3 was not found.";
            }
        }
    }
}
