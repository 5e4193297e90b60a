using System.Diagnostics;

namespace AttnCompose.Cuda.Tests;

/// <summary>
/// The tests as a program. <c>gpu</c> runs those that need a GPU where there is no SDK, <c>host-time</c> measures what a call
/// costs the host; the others are processes that tests start.
/// </summary>
internal static class Program
{
    public static int Main(string[] args)
    {
        if (KernelWorker.TryServe(args))
            return 0;
        return args switch
        {
            ["gpu", .. var names] => GpuTestRunner.Run(names),
            ["host-time"] => HostTime.Measure(),
            ["compile-slowly", var folder, var milliseconds] => CompileSlowly(folder, TimeSpan.FromMilliseconds(int.Parse(milliseconds))),
            ["compile"] => Compile(),
            ["say-nothing"] => SayNothing(),
            _ => Usage(),
        };
    }

    /// <summary>This program as a process of its own, with its output redirected.</summary>
    public static ProcessStartInfo Command(params string[] arguments)
    {
        var start = new ProcessStartInfo(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet")
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        foreach (string argument in (string[])[typeof(Program).Assembly.Location, .. arguments])
            start.ArgumentList.Add(argument);
        return start;
    }

    /// <summary>The one entry that <c>compile-slowly</c> makes.</summary>
    public static (KernelCache Cache, PreparedKernel Kernel) SlowEntry(string folder, Action compiling)
    {
        var cache = new KernelCache(
            new CudaSettings { CacheDirectory = folder },
            kernel =>
            {
                compiling();
                return new CompiledKernel(kernel.Source.Name, "sm_80", "12.4", new byte[100_000], "");
            },
            () => "compiler 1");
        return (cache, cache.Prepare(Sources.Source("text", "slow"), Sources.Sm80));
    }

    private static int CompileSlowly(string folder, TimeSpan time)
    {
        var (cache, kernel) = SlowEntry(folder, () =>
        {
            Console.WriteLine("compiling");
            Thread.Sleep(time);
        });
        Console.WriteLine(cache.GetOrCompile(kernel).Cubin.Length);
        return 0;
    }

    private static int Compile()
    {
        try
        {
            Console.WriteLine($"compiled {KernelCompiler.Compile(Sources.Scale, Sources.Sm80).Cubin.Length > 0}");
        }
        catch (Exception e)
        {
            Console.WriteLine($"{e.GetType().Name}: {e.Message}");
        }
        return 0;
    }

    private static int SayNothing()
    {
        Thread.Sleep(TimeSpan.FromMinutes(10));
        return 0;
    }

    private static int Usage()
    {
        Console.Error.WriteLine("usage: AttnCompose.Cuda.Tests gpu [part of a test's name]... | host-time");
        return 2;
    }
}
